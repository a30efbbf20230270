"""Metacontroller 4.17.2 as our hooks see it: CompositeControllers with dynamic apply.

`controller` watches and queues, `sync` is one pass over one parent, `hooks` and `answers` are the
wire, `claims`, `related` and `children` are its steps, `merge` is the three-way merge.
"""
