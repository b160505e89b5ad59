"""llama.cpp: the library, its contexts and sequences, threads, and an engine of them. Alone imports llama_cpp."""
