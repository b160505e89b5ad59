"""Pages that show what edgeslm answers: plain HTML and a little script, whole in themselves."""
