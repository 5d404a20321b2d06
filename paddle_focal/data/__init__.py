"""Data sets: annotation files, what may be wrong with them, how often classes occur, the digits of the demo.

Imports ``detection`` where PaddleDetection is needed.
"""
