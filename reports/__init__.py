"""What people read: statistics over runs, tables as text, and self-contained pages of one run or of
many.
"""
