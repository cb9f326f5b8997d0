"""The application under test without the stamping middleware. Runs where `services/app` is the working folder."""

from app import app
from stamp import StampMiddleware

assert isinstance(app.wsgi_app, StampMiddleware)
app.wsgi_app = app.wsgi_app.application  # type: ignore[assignment, method-assign]
