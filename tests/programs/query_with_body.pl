% A query with a body asks for the instances that the body derives.
%% answer: a(1)  0.1
%% answer: a(3)  0.3

wanted(1).
wanted(3).
0.1::a(1).
0.2::a(2).
0.3::a(3).

query(a(X)) :- wanted(X).
