"""Real-time transcoding: a ladder of lower renditions, cut where the source is cut.

Two processes, and the pipe protocol between them, `wire`. What each module is for, lowest first:

In the worker (`python -m origin.transcode`, one a broadcast, alone with `av`): `decode`, `scale`
and `encode` wrap FFmpeg, with `bitstream` behind; `slots` numbers what comes out of the decoder;
`intake` makes of coded pictures what each rung has to encode, `rung_stage` encodes it, `lanes`
spreads that over threads; `listener` and `signals` look after black, frozen and silent;
`bounded_queue` lies between the stages, which `worker` runs; `sandbox` and `seccomp` take the
worker's rights away.

In the origin, which never imports `av`: `rungs` and `capacity` decide what is encoded, by what
`machine` and `measure` say (`trial` is the child that measures); `ladder`, over `feed`, `step`,
`pressure` and `health`, puts what the workers give into renditions; `supervisor` keeps a worker
alive, and `service` looks after all of them.

Here is no code, so that a worker loads nothing that it does not need.
"""
