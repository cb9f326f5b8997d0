"""What the door serves, without the stamping middleware."""

from wsgilab_door.pages import Pages
from wsgilab_door.wsgi import application, late

app = Pages(application, late)
