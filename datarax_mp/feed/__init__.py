"""What is handed out next, and the answers put in order."""
