"""What happens to a lake when it is cut, frozen, crowded or refused, compared with a quiet one."""
