"""`python -m kaito_laptop` is the command `kaito`."""

from kaito_laptop.cli.command import main

raise SystemExit(main())
