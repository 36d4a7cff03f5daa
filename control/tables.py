"""The tables of the SQLite file, version by version. Imports nothing of ours."""

from typing import Final

#: Entry N brings a file from version N to N + 1. Never edit an entry that was released: add one.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE streams (
            id TEXT PRIMARY KEY,
            broadcaster_id TEXT NOT NULL,
            title TEXT NOT NULL,
            chat_enabled INTEGER NOT NULL CHECK (chat_enabled IN (0, 1)),
            recording_enabled INTEGER NOT NULL CHECK (recording_enabled IN (0, 1)),
            status TEXT NOT NULL CHECK (status IN ('idle', 'live', 'ended')),
            started_at REAL,
            ended_at REAL,
            created_at REAL NOT NULL,
            key_hash BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32)
        ) STRICT
        """,
        "CREATE INDEX streams_by_status ON streams (status, created_at)",
        "CREATE INDEX streams_by_age ON streams (created_at)",
    ),
    (
        """
        CREATE TABLE relays (
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            direction TEXT NOT NULL CHECK (direction IN ('forward', 'pull')),
            position INTEGER NOT NULL,
            url TEXT NOT NULL,
            PRIMARY KEY (stream_id, direction, position)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # settings and pinned: JSON, as in control.chat_model. messages: how many there are.
        """
        CREATE TABLE chat_rooms (
            stream_id TEXT PRIMARY KEY REFERENCES streams (id) ON DELETE CASCADE,
            settings TEXT,
            pinned TEXT,
            cleared_to TEXT NOT NULL DEFAULT '',
            messages INTEGER NOT NULL DEFAULT 0 CHECK (messages >= 0)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE chat_messages (
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            is_deleted INTEGER NOT NULL CHECK (is_deleted IN (0, 1)),
            id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            username TEXT NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('viewer', 'moderator', 'broadcaster', 'admin')),
            content TEXT NOT NULL,
            at INTEGER NOT NULL,
            stream_time REAL,
            client_id TEXT,
            PRIMARY KEY (stream_id, is_deleted, id)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX chat_messages_by_age ON chat_messages (at)",
        """
        CREATE INDEX chat_messages_by_time ON chat_messages (stream_id, at, id)
            WHERE is_deleted = 0
        """,
        """
        CREATE TABLE chat_sanctions (
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            user_id TEXT NOT NULL,
            username TEXT NOT NULL,
            until INTEGER,
            network TEXT,
            by TEXT NOT NULL,
            reason TEXT NOT NULL,
            at INTEGER NOT NULL,
            PRIMARY KEY (stream_id, user_id)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE chat_moderators (
            number INTEGER PRIMARY KEY,
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            user_id TEXT NOT NULL,
            username TEXT NOT NULL,
            UNIQUE (stream_id, user_id)
        ) STRICT
        """,
        """
        CREATE TABLE chat_audit (
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            at INTEGER NOT NULL,
            actor_id TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            action TEXT NOT NULL,
            target TEXT NOT NULL,
            detail TEXT NOT NULL,
            reason TEXT NOT NULL,
            PRIMARY KEY (stream_id, number)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX chat_audit_by_age ON chat_audit (at)",
    ),
    (
        # Keys move into a table of their own. A UNIQUE column cannot be dropped: streams is made
        # anew, while foreign keys are not looked at (`control.database`).
        """
        CREATE TABLE stream_keys (
            id TEXT PRIMARY KEY,
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            label TEXT NOT NULL,
            key_hash BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32),
            created_at REAL NOT NULL,
            expires_at REAL
        ) STRICT
        """,
        "CREATE INDEX stream_keys_by_stream ON stream_keys (stream_id, created_at)",
        """
        INSERT INTO stream_keys
            SELECT lower(hex(randomblob(6))), id, 'first', key_hash, created_at, NULL FROM streams
        """,
        """
        CREATE TABLE streams_4 (
            id TEXT PRIMARY KEY,
            broadcaster_id TEXT NOT NULL,
            title TEXT NOT NULL,
            chat_enabled INTEGER NOT NULL CHECK (chat_enabled IN (0, 1)),
            recording_enabled INTEGER NOT NULL CHECK (recording_enabled IN (0, 1)),
            status TEXT NOT NULL CHECK (status IN ('idle', 'live', 'ended')),
            started_at REAL,
            ended_at REAL,
            created_at REAL NOT NULL
        ) STRICT
        """,
        """
        INSERT INTO streams_4
            SELECT id, broadcaster_id, title, chat_enabled, recording_enabled, status, started_at,
                ended_at, created_at FROM streams
        """,
        "DROP TABLE streams",
        "ALTER TABLE streams_4 RENAME TO streams",
        "CREATE INDEX streams_by_status ON streams (status, created_at)",
        "CREATE INDEX streams_by_age ON streams (created_at)",
        """
        CREATE TABLE admin_tokens (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            scopes TEXT NOT NULL,
            token_hash BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
            created_at REAL NOT NULL,
            expires_at REAL
        ) STRICT
        """,
    ),
    (
        """
        CREATE TABLE recordings (
            id TEXT PRIMARY KEY,
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            broadcast_id TEXT NOT NULL,
            title TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL,
            duration_s REAL NOT NULL CHECK (duration_s >= 0),
            size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
            status TEXT NOT NULL CHECK (status IN ('recording', 'ready', 'failed')),
            reason TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX recordings_by_age ON recordings (status, started_at)",
        "CREATE INDEX recordings_by_stream ON recordings (stream_id, started_at)",
        # Whose media is still on the disk, also where a stream took its recordings along.
        "CREATE TABLE recordings_gone (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
        """
        CREATE TRIGGER recording_deleted AFTER DELETE ON recordings
        BEGIN INSERT OR IGNORE INTO recordings_gone (id) VALUES (old.id); END
        """,
    ),
    (
        # Streams that not everybody may watch; all others are public.
        """
        CREATE TABLE playback (
            stream_id TEXT PRIMARY KEY REFERENCES streams (id) ON DELETE CASCADE,
            policy TEXT NOT NULL CHECK (policy IN ('token', 'webhook')),
            webhook_url TEXT
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # How many watched, minute by minute and broadcast by broadcast; never who.
        """
        CREATE TABLE audience_minutes (
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            at INTEGER NOT NULL,
            count INTEGER NOT NULL CHECK (count >= 0),
            peak INTEGER NOT NULL CHECK (peak >= 0),
            PRIMARY KEY (stream_id, at)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX audience_minutes_by_age ON audience_minutes (at)",
        """
        CREATE TABLE audience_broadcasts (
            stream_id TEXT NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
            started_at REAL NOT NULL,
            ended_at REAL NOT NULL,
            peak INTEGER NOT NULL CHECK (peak >= 0),
            watched_s REAL NOT NULL CHECK (watched_s >= 0),
            PRIMARY KEY (stream_id, started_at)
        ) STRICT, WITHOUT ROWID
        """,
    ),
    (
        # A hook's stream may be gone: its end is an event too. AUTOINCREMENT: a number is never
        # used again, for order is by numbers.
        """
        CREATE TABLE hooks (
            id TEXT PRIMARY KEY,
            url TEXT NOT NULL,
            events TEXT NOT NULL,
            stream_id TEXT,
            enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
            description TEXT NOT NULL,
            generation INTEGER NOT NULL,
            created_at REAL NOT NULL,
            dropped INTEGER NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE hook_deliveries (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            hook_id TEXT NOT NULL REFERENCES hooks (id) ON DELETE CASCADE,
            stream_id TEXT NOT NULL,
            event_id TEXT NOT NULL,
            type TEXT NOT NULL,
            body BLOB NOT NULL,
            at REAL NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('pending', 'dead')),
            attempts INTEGER NOT NULL,
            reason TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX hook_deliveries_by_stream"
        " ON hook_deliveries (hook_id, status, stream_id, number)",
        "CREATE INDEX hook_deliveries_by_number ON hook_deliveries (hook_id, status, number)",
    ),
)
