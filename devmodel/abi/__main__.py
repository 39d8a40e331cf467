"""``python -m devmodel.abi [--check]``: write, or compare, the generated files."""

import sys

from devmodel.abi.generate import ROOT, outputs


def main(arguments: list[str]) -> int:
    """Exit code 0; 1 with --check if a file differs from its declaration; 2 for bad usage."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m devmodel.abi [--check]", file=sys.stderr)
        return 2
    stale = [p for p, text in outputs().items() if not p.exists() or p.read_text() != text]
    for path in stale:
        if arguments:
            print(f"{path.relative_to(ROOT)} is stale: run python -m devmodel.abi", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(outputs()[path])
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
