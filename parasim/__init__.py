"""parasim: how fast would this parallel SGD scheme train this network on that cluster?"""
