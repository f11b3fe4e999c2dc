"""What is wrong with this machine and with the stack on it: facts are gathered first, then judged by pure rules."""
