package process

func weaker(string, Isolation) int { return 2 }
