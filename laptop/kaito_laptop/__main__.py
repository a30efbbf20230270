"""`python -m kaito_laptop` is the command `kaito`."""

from kaito_laptop.command import main

raise SystemExit(main())
