"""What leaves the tool: painted words, exports, charts, the report, notebooks."""
