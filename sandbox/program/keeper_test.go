package program

const keeperVerb = "act-as-keeper"

func actAsKeeper([]string) {}
