"""An engine of llama.cpp: its library, contexts, sequences, threads. Alone imports llama_cpp."""
