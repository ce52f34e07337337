"""What is found out about a set of images before it is used."""
