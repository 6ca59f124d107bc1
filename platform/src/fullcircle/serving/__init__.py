"""The inference server: answers over two protocols, follows the champion, and logs what it answers."""
