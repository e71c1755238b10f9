"""The tests; whatever the machine says of an object store, none of them is asked but their own."""

import os

for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
