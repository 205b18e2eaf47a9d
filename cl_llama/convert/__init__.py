"""Models from one file format to another: GGUF files and Hugging Face folders are written."""
