"""The greetings table."""

from sqlalchemy.orm import Mapped, mapped_column

from vibetracker.core.db.model import Resource


class Greeting(Resource):
    """A greeting."""

    __tablename__ = "greetings"

    text: Mapped[str] = mapped_column()
