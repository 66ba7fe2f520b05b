% A variable that occurs twice in the query.
%% answer: pair(a,a)  0.5
%% answer: pair(b,b)  0.3

0.5::pair(a, a).
0.4::pair(a, b).
0.3::pair(b, b).

query(pair(X, X)).
