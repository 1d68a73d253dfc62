"""What an operator can set about the journal."""

from datetime import datetime, timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vibetracker.core.db.types import utcnow


class JournalSettings(BaseSettings):
    """The settings of the journal, read as those of the service are."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    changes_kept_days: int = Field(
        30, ge=1, le=36_500, description="How many days a change is kept."
    )

    def oldest(self) -> datetime:
        """Return the instant before which changes have expired."""
        return utcnow() - timedelta(days=self.changes_kept_days)


settings = JournalSettings()
