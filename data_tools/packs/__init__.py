"""The pack: the folder that training reads."""
