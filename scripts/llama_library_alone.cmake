# Builds llama.cpp's library without the one of its tools: nothing of edgeslm loads that.
# llama-cpp-python forces the cache variable on; a plain variable of the project goes before it.
set(LLAMA_BUILD_COMMON OFF)
