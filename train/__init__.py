"""Floor 2: data to adapter: split, train, evaluate, verdict, publish. The only room that imports
torch."""
