"""What several test files share: tiny models, scripted engines, servers, recipes."""
