"""What a Workspace asks for and what was observed, to the children that should exist and a status. Pure.

sync is the way in: api (the typed Workspace), fit (model against size), then one of two flows, tune_and_serve or
serve_preset. The flows are made of observed (what we saw), machines, check, tuning, inference (the children),
progress and jobs (how far), stages and status (the conditions). customize and finalize are the other two hooks.
"""
