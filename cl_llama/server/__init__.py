"""Text over HTTP: RLLaMA's API, OpenAI's API and a web page. Takes the extra `server`."""
