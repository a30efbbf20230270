"""A stand-in for the part of Azure Resource Manager that the Machine hook speaks to.

It listens on loopback, so Azure's real client is used everywhere. Time is the laptop's clock: a pool
takes its minutes in a story of milliseconds as well.
"""
