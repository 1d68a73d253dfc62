"""Settings: the database, and around the views only what an API without a login needs."""

import os

from sqlalchemy.engine import make_url

_url = make_url(os.environ["DATABASE_URL"])

SECRET_KEY = "of no use"  # noqa: S105 - nothing is signed
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["rest_framework", "benchmarks.django_rest"]
# Sets ``Content-Length``; responses would be chunked otherwise.
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "benchmarks.django_rest.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _url.host,
        "PORT": _url.port,
        "NAME": _url.database,
        "USER": _url.username,
        "PASSWORD": _url.password,
        # Each thread of the worker keeps its connection.
        "CONN_MAX_AGE": None,
    }
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    # The default is of django.contrib.auth, which is not installed.
    "UNAUTHENTICATED_USER": None,
}
