# Static analysis: tests/lint/run.sh says of what, .clang-tidy what is off and why.

lint:
	sh tests/install.sh build lint
	sh tests/run.sh $(call scripts_of,lint)

.PHONY: lint
