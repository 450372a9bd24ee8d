module act

go 1.21
