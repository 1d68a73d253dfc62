"""``Idempotency-Key``: the answer of a POST is stored with its effect, and replayed to a retry."""

import json
import re
from datetime import datetime, timedelta
from hashlib import file_digest, sha256

from sqlalchemy import Index, LargeBinary, String, Text, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column
from starlette.requests import Request
from starlette.responses import Response

from vibetracker.core.api.parameters import header_names
from vibetracker.core.db.database import lock
from vibetracker.core.db.model import Base
from vibetracker.core.db.types import UTCDateTime, utcnow
from vibetracker.core.http.problems import InFlight, KeyReused, ValidationFailed, invalid

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT_FOR = timedelta(hours=24)
SWEPT_AT_ONCE = 100
KEY = re.compile(r"[\x21-\x7e]{1,255}")


class StoredResponse(Base):
    """The first successful answer to a key, written in the transaction of its effect."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    status: Mapped[int]
    headers: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (Index(None, "created_at"),)


def not_stored() -> ValidationFailed:
    """Return the problem of a key for an answer that is streamed, or of no transaction."""
    return invalid(
        "The answer of this operation is not stored, and cannot be repeated",
        code="idempotency_key",
        header=HEADER,
    )


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


def fingerprint_of(request: Request) -> bytes:
    """Digest what makes a request this request and no other."""
    content = request.state.body
    if file := getattr(request.state, "file", None):
        file.seek(0)
        content = file_digest(file, sha256).digest()
    digest = sha256()
    sent = request.headers.getlist
    # Also whose it is, where features have users.
    fields = {name: sent(name) for name in sorted(header_names(request.scope["route"].dependant))}
    for part in (
        request.method.encode(),
        request.scope["path"].encode(errors="surrogateescape"),
        request.scope["query_string"],
        content,
        json.dumps(fields).encode(),
    ):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def replay(session: Session, key: str, fingerprint: bytes) -> Response | None:
    """Claim a key for the transaction of this session, or return the answer that it has already.

    Raises ``InFlight`` while another transaction has the key and ``KeyReused`` when it stands
    for another request. The claim ends with the transaction, however that ends.
    """
    if not lock(session, f"idempotency {key}", wait=False):
        raise InFlight(
            "Try again in a moment to get the answer of that request", headers={"Retry-After": "1"}
        )
    stored = session.get(StoredResponse, key)
    if stored is None:
        return None
    if stored.created_at <= utcnow() - KEPT_FOR:
        session.delete(stored)
        session.flush()
        return None
    if stored.fingerprint != fingerprint:
        raise KeyReused("Use a new key for a new request")
    response = Response(stored.body, stored.status, {REPLAYED: "true"})
    for name, value in json.loads(stored.headers):
        response.headers.append(name, value)
    return response


def store(session: Session, key: str, fingerprint: bytes, response: Response) -> None:
    """Store an answer under its key, and delete some answers that are older than 24 hours.

    Raises ``ValidationFailed`` for an answer that is streamed, and not there to be stored.
    """
    if not hasattr(response, "body"):
        raise not_stored()
    session.add(
        StoredResponse(
            key=key,
            fingerprint=fingerprint,
            status=response.status_code,
            # Pairs, since a name may be repeated, as that of a cookie is.
            headers=json.dumps(
                [field for field in response.headers.items() if field[0] != "content-length"]
            ),
            body=bytes(response.body),
        )
    )
    session.flush()
    expired = (
        select(StoredResponse.key)
        .where(StoredResponse.created_at <= utcnow() - KEPT_FOR)
        .limit(SWEPT_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    # By their keys, since PostgreSQL would look for all that is expired once for each row.
    if keys := session.scalars(expired).all():
        session.execute(delete(StoredResponse).where(StoredResponse.key.in_(keys)))
