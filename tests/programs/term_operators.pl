% Terms written with operators as plain data.
%% answer: formula(x+y)  0.3
%% answer: formula(x-1)  0.7
%% answer: sum(x,y)  0.3
%% answer: difference(x)  0.7
%% answer: pair(a,2)  0.7

0.3::formula(x + y); 0.7::formula(x - 1).

sum(A, B) :- formula(A + B).
difference(A) :- formula(A - _).
pair(K, V) :- V = 2, K-V = a-2, formula(x - 1).

query(formula(_)).
query(sum(_, _)).
query(difference(_)).
query(pair(_, _)).
