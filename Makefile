# Each target runs scripts/make.py, which works the same on Windows: py -m scripts.make demo
PYTHON ?= python3
TARGETS = setup demo test lint soak docs bench train

.PHONY: $(TARGETS)
.NOTPARALLEL:

$(TARGETS):
	@$(PYTHON) -m scripts.make $@ $(ARGS)
