"""``Idempotency-Key``: the answer of a POST is kept with its effect, and given again to a retry."""

import json
import re
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import Index, LargeBinary, String, Text, delete, select, text
from sqlalchemy.orm import Mapped, mapped_column
from starlette.requests import Request
from starlette.responses import Response

from vibetracker.core.database import lock_key
from vibetracker.core.model import Base, UTCDateTime, utcnow
from vibetracker.core.problems import InFlight, KeyReused, invalid
from vibetracker.core.session import Session

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT_FOR = timedelta(hours=24)
SWEPT_AT_ONCE = 100
KEY = re.compile(r"[\x21-\x7e]{1,255}")


class KeptResponse(Base):
    """The first successful answer to a key, written in the transaction of its effect."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    status: Mapped[int]
    headers: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (Index(None, "created_at"),)


def key_of(request: Request) -> str | None:
    """Read the key of a request; a malformed one is a broken rule."""
    keys = request.headers.getlist(HEADER)
    if not keys:
        return None
    if len(keys) > 1 or not KEY.fullmatch(keys[0]):
        raise invalid(
            "Expected one key of 1 to 255 visible ASCII characters",
            code="idempotency_key",
            header=HEADER,
        )
    return keys[0]


def fingerprint_of(request: Request, body: bytes) -> bytes:
    """Digest what makes a request this request and no other."""
    digest = sha256()
    for part in (
        request.method.encode(),
        request.scope["path"].encode(errors="surrogateescape"),
        request.scope["query_string"],
        body,
    ):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def replay(session: Session, key: str, fingerprint: bytes) -> Response | None:
    """Claim a key for the transaction of this session, or give the answer that it has already.

    Raises ``InFlight`` while another transaction has the key and ``KeyReused`` when it stands
    for another request. The claim ends with the transaction, however that ends.
    """
    if session.get_bind().dialect.name == "postgresql":
        claim = text("SELECT pg_try_advisory_xact_lock(:key)")
        if not session.scalar(claim, {"key": lock_key(f"idempotency {key}")}):
            raise InFlight(
                "Try again in a moment to get the answer of that request",
                headers={"Retry-After": "1"},
            )
    kept = session.get(KeptResponse, key)
    if kept is None:
        return None
    if kept.created_at <= utcnow() - KEPT_FOR:
        session.delete(kept)
        session.flush()
        return None
    if kept.fingerprint != fingerprint:
        raise KeyReused("Use a new key for a new request")
    return Response(kept.body, kept.status, headers={**json.loads(kept.headers), REPLAYED: "true"})


def keep(session: Session, key: str, fingerprint: bytes, response: Response) -> None:
    """Keep an answer under its key, and drop some answers that have been kept long enough."""
    session.add(
        KeptResponse(
            key=key,
            fingerprint=fingerprint,
            status=response.status_code,
            headers=json.dumps(
                {
                    name: value
                    for name, value in response.headers.items()
                    if name != "content-length"
                }
            ),
            body=bytes(response.body),
        )
    )
    session.flush()
    expired = (
        select(KeptResponse.key)
        .where(KeptResponse.created_at <= utcnow() - KEPT_FOR)
        .limit(SWEPT_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    session.execute(delete(KeptResponse).where(KeptResponse.key.in_(expired.scalar_subquery())))
