"""The lab's tasks, where Invoke looks for them: `invoke --list` shows them, and `invoke lab.run --help` one of them."""

from invoke.collection import Collection

from wsgilab.commands.tasks import lab

namespace = Collection(lab)
