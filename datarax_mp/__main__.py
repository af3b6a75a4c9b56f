"""``python -m datarax_mp COMMAND ...``: what there is stands in ``commands/table.py``."""

from __future__ import annotations

import sys

from datarax_mp.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
