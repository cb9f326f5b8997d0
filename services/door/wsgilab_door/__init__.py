"""What a server is started with: it loads the application under test, stamps its answers and answers the lab."""
