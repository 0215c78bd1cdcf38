print("anyvisor")
