% A hidden Markov model, four steps: the marginal of the last state and of the last sound.
%% answer: state(3,low)  0.6688
%% answer: state(3,high)  0.3312
%% answer: sound(3,quiet)  0.68472
%% answer: sound(3,loud)  0.31528

0.7::state(0, low); 0.3::state(0, high).
0.8::state(T, low); 0.2::state(T, high) :- T > 0, S is T - 1, state(S, low).
0.4::state(T, low); 0.6::state(T, high) :- T > 0, S is T - 1, state(S, high).
0.9::sound(T, quiet); 0.1::sound(T, loud) :- state(T, low).
0.25::sound(T, quiet); 0.75::sound(T, loud) :- state(T, high).

query(state(3, _)).
query(sound(3, _)).
