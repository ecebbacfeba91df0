"""From a StudyResult to what people and machines see: JSON, CSV, panels, HTML page, terminal table.

This room decides nothing: every number and every state is taken over from `cruor.reader.results`.
"""
