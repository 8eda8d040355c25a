"""The report: notebooks executed, records summed up, pages written."""
