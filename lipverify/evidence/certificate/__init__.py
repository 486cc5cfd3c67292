"""Certificates: proofs of verified answers that `lipverify.checker` re-proves in exact arithmetic.

What is written are choices (splits, slopes, multipliers), by results of float models; an answer
counts as certified only once the checker has accepted the file.
"""
