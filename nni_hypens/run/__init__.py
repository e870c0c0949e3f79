"""One run in one folder: settings, plan, stages, and what they leave."""
