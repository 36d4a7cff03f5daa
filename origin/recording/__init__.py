"""Broadcasts kept on disk: what viewers saw of the source, byte for byte.

::

    packager -> Tape (bounded queue) -> Recorder's task -> thread: RecordingWriter -> folder
    viewers  <- RecordingsApi <- playlist, send_file <-----------------------------'

Files: index (the format of a folder's index), tape (events to whole segments in a bounded queue),
folder (writing, reading, repairing; synchronous), recorder (the tasks), playlist (VOD texts),
send_file (a file as an HTTP answer), api (the operations).
"""
