"""`underpass demo`: a real pipeline over real text, one of whose workers is killed, and a proof that nothing went wrong.

::

    reader ──chunks──▶ Queue ──leases──▶ N workers ──typed calls──▶ index server
                         ▲                   │ killed with SIGKILL
                         └── its chunk ◀─────┘

`corpus` and `tokens` say what is indexed, `job` what travels in the queue, `index` what the server answers. `roles` are the
programs of the processes, `child` is the process around one, `pipeline` starts and ends them, `death` kills one. `proof` builds
the index a second time without underpass and compares all postings. `compare` runs the same job on `multiprocessing`.
`progress` shows it, `command` puts it all in order.
"""
